/** The native library's side of the API; not for use outside this module. */
@NullMarked
package org.espalier.internal;

import org.jspecify.annotations.NullMarked;
