package org.espalier;

/**
 * A device, or why there is none.
 *
 * @param backend CPU or CUDA
 * @param idx index among the backend's devices
 * @param available whether models can be loaded for it
 * @param threads CPU: threads that a session uses by default; otherwise 0
 * @param memoryBytes memory of the device
 * @param name for instance the processor's name
 * @param instructions CPU: the path in use, avx512, avx2 or plain; CUDA: for instance sm_90
 * @param reason why it is not available; empty when it is
 * @param promptGemm CUDA: whose products a prompt's are, cuBLASLt and its version, or own kernels
 *     and why; empty elsewhere
 */
public record DeviceInfo(
    Backend backend,
    int idx,
    boolean available,
    int threads,
    long memoryBytes,
    String name,
    String instructions,
    String reason,
    String promptGemm) {}
