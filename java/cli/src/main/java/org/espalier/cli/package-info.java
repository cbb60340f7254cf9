/** The command line: reads options, calls the library, prints results. */
@NullMarked
package org.espalier.cli;

import org.jspecify.annotations.NullMarked;
