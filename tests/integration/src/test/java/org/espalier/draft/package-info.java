/** Tests of drafters on models that need what the package keeps to itself. */
@org.jspecify.annotations.NullMarked
package org.espalier.draft;
