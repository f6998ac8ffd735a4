"use client";
// @stepflow/react-native: the hooks of @stepflow/react, and what a phone needs beside them.

export * from "@stepflow/react";
export { createNativeClient, type NativeClientOptions } from "./native-client.js";
export {
  OfflineQueue,
  type OfflineQueueOptions,
  type OfflineQueueState,
  type Queued,
} from "./offline-queue.js";
export { QueueFullError, QueueUnreadableError, type FailedCall, type QueuedCall } from "./queued-calls.js";
export {
  Reachability,
  type AppStateLike,
  type NetworkLike,
  type ReachabilityOptions,
} from "./reachability.js";
export { secureTokenStorage, type SecureStoreLike } from "./secure-tokens.js";
export {
  OfflineQueueProvider,
  useOfflineQueue,
  useQueuedNotify,
  useQueuedTrigger,
  type OfflineQueueView,
  type QueuedNotifyState,
  type QueuedTriggerState,
} from "./use-offline-queue.js";
export { xhrTransport, type XhrTransportOptions } from "./xhr-transport.js";
