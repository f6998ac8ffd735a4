// Reachability: whether it makes sense to speak to a server now: the app is in the foreground, and there is a network.

import { AppState } from "react-native";

/** The part of React Native's `AppState` that is used. */
export interface AppStateLike {
  readonly currentState: string | null;
  addEventListener(type: "change", listener: (state: never) => void): { remove(): void };
}

/** The part of `@react-native-community/netinfo` that is used: its listeners are told of the present state, too. */
export interface NetworkLike {
  addEventListener(listener: (state: { isConnected: boolean | null }) => void): () => void;
}

export interface ReachabilityOptions {
  /** React Native's own unless given. */
  appState?: AppStateLike | undefined;
  /** Without it the network counts as there, and its loss is noticed by requests that fail. */
  network?: NetworkLike | undefined;
}

/** One for an app, made at its start, given to its client and its queue. */
export class Reachability {
  private inForeground: boolean;
  private online = true;
  private readonly listeners = new Set<(isReachable: boolean) => void>();
  private readonly stopWatching: (() => void)[] = [];

  constructor({ appState = AppState as AppStateLike, network }: ReachabilityOptions = {}) {
    this.inForeground = appState.currentState !== "background";
    const subscription = appState.addEventListener("change", (state: string) => {
      // "inactive" is a passing state of iOS, with the app in sight.
      this.change({ inForeground: state !== "background" });
    });
    this.stopWatching.push(() => {
      subscription.remove();
    });
    if (network) {
      this.stopWatching.push(
        network.addEventListener(({ isConnected }) => {
          this.change({ online: isConnected !== false }); // null: not known yet
        }),
      );
    }
  }

  get isReachable(): boolean {
    return this.inForeground && this.online;
  }

  /** Be told of each change, until the returned function is called. */
  listen(listener: (isReachable: boolean) => void): () => void {
    const own = (isReachable: boolean): void => {
      listener(isReachable);
    };
    this.listeners.add(own);
    return () => {
      this.listeners.delete(own);
    };
  }

  /** Resolves when it is so, at once if it is; rejects when the signal is aborted. */
  whenReachable(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(aborted());
        return;
      }
      if (this.isReachable) {
        resolve();
        return;
      }
      const stop = (): void => {
        stopListening();
        reject(aborted());
      };
      const stopListening = this.listen((isReachable) => {
        if (!isReachable) return;
        stopListening();
        signal.removeEventListener("abort", stop);
        resolve();
      });
      signal.addEventListener("abort", stop);
    });
  }

  /** Watch nothing any more; for tests. */
  close(): void {
    for (const stop of this.stopWatching.splice(0)) stop();
  }

  private change(change: { inForeground?: boolean; online?: boolean }): void {
    const before = this.isReachable;
    this.inForeground = change.inForeground ?? this.inForeground;
    this.online = change.online ?? this.online;
    if (before === this.isReachable) return;
    for (const listener of [...this.listeners]) listener(this.isReachable);
  }
}

/** What a request that was given up rejects with. */
export function aborted(): Error {
  const error = new Error("the operation was aborted");
  error.name = "AbortError";
  return error;
}
