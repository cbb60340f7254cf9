/** The built-in drafters, one small class for each published method. */
@NullMarked
package org.espalier.draft;

import org.jspecify.annotations.NullMarked;
