// Phone: what happens to an app from outside.
import { act } from "@testing-library/react-native";
import { DeviceEventEmitter } from "react-native";

type State = "active" | "inactive" | "background";

/** The operating system puts the app there. */
export function put(state: State): void {
  act(() => {
    DeviceEventEmitter.emit("appStateDidChange", { app_state: state });
  });
}

type Listener = (state: { isConnected: boolean | null }) => void;

/** A network that comes and goes, told as `@react-native-community/netinfo` does. */
export class Network {
  private readonly listeners = new Set<Listener>();
  private isConnected: boolean | null = true;

  addEventListener = (listener: Listener): (() => void) => {
    this.listeners.add(listener);
    listener({ isConnected: this.isConnected });
    return () => {
      this.listeners.delete(listener);
    };
  };

  set(isConnected: boolean | null): void {
    this.isConnected = isConnected;
    act(() => {
      for (const listener of [...this.listeners]) listener({ isConnected });
    });
  }
}

/** A storage that outlives the app, like `AsyncStorage`. */
export class Disk {
  readonly files = new Map<string, string>();
  /** Thrown by the next writing. */
  broken: Error | undefined;
  /** Turns of the event loop that a writing takes. */
  slow = 0;

  getItem = async (key: string): Promise<string | null> => Promise.resolve(this.files.get(key) ?? null);

  setItem = async (key: string, value: string): Promise<void> => {
    const { broken } = this;
    this.broken = undefined;
    for (let turn = 0; turn < this.slow; turn++) await new Promise(setImmediate);
    if (broken) throw broken;
    this.files.set(key, value);
  };

  removeItem = async (key: string): Promise<void> => {
    this.files.delete(key);
    return Promise.resolve();
  };
}
