// Tokens: the right to watch a run, kept for each run: in memory or in a storage of yours, dropped when it expires, refreshed on demand.

import {
  isExpired,
  rememberedTokens,
  type MaybePromise,
  type RunTokens,
  type StoredToken,
} from "./run-tokens.js";

/** Where tokens are kept. `localStorage`, `sessionStorage` and React Native's `AsyncStorage` fit as they are. */
export interface TokenStorage {
  getItem(key: string): MaybePromise<string | null>;
  setItem(key: string, value: string): MaybePromise<unknown>;
  removeItem(key: string): MaybePromise<unknown>;
}

/** How tokens are kept. `storage` is memory unless given; `now` (milliseconds) is for tests. */
export interface TokenManagerOptions {
  storage?: TokenStorage;
  /** What the keys in the storage begin with. */
  prefix?: string;
  /** Gets a fresh token from your own server (which calls `createRunToken`); null if there is none to be had. */
  refresh?: (runId: string) => MaybePromise<StoredToken | string | null>;
  now?: () => number;
}

/** Keeps run tokens. Share one between clients, and hand it to `StepflowClient` as `tokens`. */
export class TokenManager implements RunTokens {
  private readonly kept: Omit<RunTokens, "refresh">;
  private readonly fetchFresh: TokenManagerOptions["refresh"];
  private readonly refreshing = new Map<string, Promise<string | null>>();

  constructor(options: TokenManagerOptions = {}) {
    const { storage, prefix = "stepflow:token:", refresh, now = Date.now } = options;
    this.kept = storage ? storedTokens(storage, prefix, now) : rememberedTokens(now);
    this.fetchFresh = refresh;
  }

  /** Keep the run's token, in place of the one before. */
  async set(runId: string, token: string, expiresAt: string | null = null): Promise<void> {
    await this.kept.set(runId, token, expiresAt);
  }

  /** The run's token while it is valid. One that has expired is dropped, and refreshed if there is a way to; null if there is none. */
  async get(runId: string): Promise<string | null> {
    return (await this.kept.get(runId)) ?? this.refresh(runId);
  }

  /** A fresh token, whatever is kept; those who ask at the same time share one. Null, and the kept one is dropped, if there is none to be had. */
  refresh(runId: string): Promise<string | null> {
    const running = this.refreshing.get(runId);
    if (running) return running;
    const fresh = this.renewed(runId).finally(() => this.refreshing.delete(runId));
    this.refreshing.set(runId, fresh);
    return fresh;
  }

  /** Forget the run's token. */
  async delete(runId: string): Promise<void> {
    await this.kept.delete(runId);
  }

  private async renewed(runId: string): Promise<string | null> {
    const found = await this.fetchFresh?.(runId);
    if (!found) {
      await this.delete(runId);
      return null;
    }
    const { token, expiresAt } = typeof found === "string" ? { token: found, expiresAt: null } : found;
    await this.set(runId, token, expiresAt);
    return token;
  }
}

/** Tokens as JSON in a storage, each under a key of its own; one that has expired is dropped when it is asked for. */
function storedTokens(storage: TokenStorage, prefix: string, now: () => number): Omit<RunTokens, "refresh"> {
  const drop = async (runId: string): Promise<void> => {
    await storage.removeItem(prefix + runId);
  };
  return {
    async set(runId, token, expiresAt) {
      await storage.setItem(prefix + runId, JSON.stringify({ token, expiresAt }));
    },
    async get(runId) {
      const stored = read(await storage.getItem(prefix + runId));
      if (stored && isExpired(stored, now())) await drop(runId);
      else if (stored) return stored.token;
      return null;
    },
    delete: drop,
  };
}

function read(text: string | null): StoredToken | undefined {
  if (text === null) return undefined;
  try {
    const { token, expiresAt } = JSON.parse(text) as Partial<StoredToken>;
    return typeof token === "string" ? { token, expiresAt: expiresAt ?? null } : undefined;
  } catch {
    return undefined; // not written by us: as good as none
  }
}
