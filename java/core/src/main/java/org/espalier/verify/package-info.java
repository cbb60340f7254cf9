/** The built-in verifiers. */
@NullMarked
package org.espalier.verify;

import org.jspecify.annotations.NullMarked;
