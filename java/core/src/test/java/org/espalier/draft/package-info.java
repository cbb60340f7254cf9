@NullMarked
package org.espalier.draft;

import org.jspecify.annotations.NullMarked;
