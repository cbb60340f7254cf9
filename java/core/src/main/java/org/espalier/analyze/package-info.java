/** Diagnostics of a model: what could be drafted from its hidden states. */
@NullMarked
package org.espalier.analyze;

import org.jspecify.annotations.NullMarked;
