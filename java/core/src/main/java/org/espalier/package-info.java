/**
 * Fast, bit-exact decoding of language models: {@link org.espalier.Model} is where to begin.
 *
 * <p>A model makes sessions, a session holds sequences with their KV cache, a generation runs the
 * decoding loop. A {@link org.espalier.Drafter} proposes tokens, a {@link org.espalier.Verifier}
 * judges them by the model's own scores.
 */
@NullMarked
package org.espalier;

import org.jspecify.annotations.NullMarked;
