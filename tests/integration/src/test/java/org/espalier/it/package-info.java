/** Tests that cross layers: Java API, native library, fixture models. */
@NullMarked
package org.espalier.it;

import org.jspecify.annotations.NullMarked;
