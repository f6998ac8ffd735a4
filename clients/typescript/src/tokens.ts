// Tokens: the right to watch a run, kept for each run: in memory or in a storage of yours, dropped when it expires, refreshed on demand.

/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

/** A run token with its expiry (RFC 3339); null if that is unknown. */
export interface StoredToken {
  token: string;
  expiresAt: string | null;
}

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
export class TokenManager {
  private readonly storage: TokenStorage;
  private readonly prefix: string;
  private readonly now: () => number;
  private readonly fetchFresh: TokenManagerOptions["refresh"];
  private readonly refreshing = new Map<string, Promise<string | null>>();

  constructor(options: TokenManagerOptions = {}) {
    this.now = options.now ?? Date.now;
    this.storage = options.storage ?? memory(this.now);
    this.prefix = options.prefix ?? "stepflow:token:";
    this.fetchFresh = options.refresh;
  }

  /** Keep the run's token, in place of the one before. */
  async set(runId: string, token: string, expiresAt: string | null = null): Promise<void> {
    await this.storage.setItem(this.prefix + runId, JSON.stringify({ token, expiresAt }));
  }

  /** The run's token while it is valid. One that has expired is dropped, and refreshed if there is a way to; null if there is none. */
  async get(runId: string): Promise<string | null> {
    const stored = read(await this.storage.getItem(this.prefix + runId));
    if (stored && !isExpired(stored, this.now())) return stored.token;
    if (stored) await this.delete(runId);
    return this.refresh(runId);
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
    await this.storage.removeItem(this.prefix + runId);
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

function read(text: string | null): StoredToken | undefined {
  if (text === null) return undefined;
  try {
    const { token, expiresAt } = JSON.parse(text) as Partial<StoredToken>;
    return typeof token === "string" ? { token, expiresAt: expiresAt ?? null } : undefined;
  } catch {
    return undefined; // not written by us: as good as none
  }
}

function isExpired(stored: StoredToken, now: number): boolean {
  return stored.expiresAt !== null && Date.parse(stored.expiresAt) <= now;
}

/** Memory that does not grow with what has expired: whenever something is added, that is swept out. */
function memory(now: () => number): TokenStorage {
  const items = new Map<string, string>();
  return {
    getItem: (key) => items.get(key) ?? null,
    removeItem: (key) => items.delete(key),
    setItem(key, value) {
      for (const [other, text] of items) {
        const stored = read(text);
        if (stored && isExpired(stored, now())) items.delete(other);
      }
      items.set(key, value);
    },
  };
}
