@NullMarked
package org.espalier.analyze;

import org.jspecify.annotations.NullMarked;
