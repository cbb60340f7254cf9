/** JMH benchmarks of the decoding loop. */
@NullMarked
package org.espalier.bench;

import org.jspecify.annotations.NullMarked;
