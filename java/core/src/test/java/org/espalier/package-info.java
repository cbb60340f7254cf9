@NullMarked
package org.espalier;

import org.jspecify.annotations.NullMarked;
