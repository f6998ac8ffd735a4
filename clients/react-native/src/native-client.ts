// NativeClient: a client that knows what a phone does: it goes to the background, and into tunnels.

import {
  StepflowClient,
  type Pause,
  type StepflowClientOptions,
  type Transport,
  type TransportResponse,
} from "@stepflow/client";
import { aborted, Reachability } from "./reachability.js";
import { xhrTransport } from "./xhr-transport.js";

export interface NativeClientOptions extends Omit<StepflowClientOptions, "fetch" | "transport" | "patience"> {
  /** Whether a server can be reached; shared with the app's queue. Made of React Native's `AppState` unless given. */
  reachability?: Reachability | undefined;
}

/**
 * A client for React Native. It streams without `EventSource` and web streams; its streams rest while the app is in the background
 * or without a network, and go on behind the last event when it is back. They don't give up for want of an answer, however long that
 * takes; a refusal ends them. `timeout` (30 s) is for each request.
 */
export function createNativeClient({
  reachability,
  timeout,
  ...options
}: NativeClientOptions): StepflowClient {
  const reachable = reachability ?? new Reachability();
  return new StepflowClient({
    ...options,
    transport: restingTransport(xhrTransport({ timeout }), reachable),
    pause: options.pause ?? wakefulPause(reachable),
    // How long a request may take, the transport says: it does not count the time in the background.
    timeout: Infinity,
    patience: Infinity,
  });
}

/** Streams are opened only while a server can be reached, and given up as soon as it can't. */
function restingTransport(transport: Transport, reachability: Reachability): Transport {
  return async (request) => {
    if (!request.stream) return transport(request);
    await reachability.whenReachable(request.signal);
    const controller = new AbortController();
    const stop = (): void => {
      stopListening();
      request.signal.removeEventListener("abort", stop);
      controller.abort();
    };
    const stopListening = reachability.listen(stop);
    request.signal.addEventListener("abort", stop);
    try {
      return released(await transport({ ...request, signal: controller.signal }), stop);
    } catch (error) {
      stop();
      throw error;
    }
  };
}

/** The same answer; when it has been read, or nobody wants to, `release` is called. */
function released(response: TransportResponse, release: () => void): TransportResponse {
  return {
    ...response,
    text: () => response.text().finally(release),
    async *chunks() {
      try {
        yield* response.chunks();
      } finally {
        release();
      }
    },
  };
}

/** A pause that is over when the server can be reached again, whatever was left of it. */
function wakefulPause(reachability: Reachability): Pause {
  return (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        stopListening();
        signal?.removeEventListener("abort", stop);
        settle();
      };
      const stop = (): void => {
        end(() => {
          reject(aborted());
        });
      };
      const timer = setTimeout(() => {
        end(resolve);
      }, milliseconds);
      const stopListening = reachability.listen((isReachable) => {
        if (isReachable) end(resolve);
      });
      if (signal?.aborted) stop();
      else signal?.addEventListener("abort", stop);
    });
}
