package org.espalier;

/**
 * What a model folder holds.
 *
 * @param architecture for instance LlamaForCausalLM
 * @param maxPositions longest context, in tokens
 * @param slidingWindow tokens that a windowed layer sees; 0 when no layer has a window
 * @param tiedEmbeddings whether the LM head is the embedding
 * @param kvElementsPerToken elements of K and V of one token, all layers
 * @param rope kind of rotary embedding: default, linear, dynamic, llama3 or yarn
 */
public record ModelInfo(
    String architecture,
    int numLayers,
    int hidden,
    int intermediate,
    int numQHeads,
    int numKvHeads,
    int headDim,
    int vocab,
    int maxPositions,
    int slidingWindow,
    ElementType weightType,
    boolean tiedEmbeddings,
    long numParameters,
    long weightBytes,
    long kvElementsPerToken,
    String rope) {

  /** Bytes of KV cache that a context takes. */
  public long kvBytes(long tokens, ElementType type) {
    return tokens * kvElementsPerToken * type.bytes();
  }
}
