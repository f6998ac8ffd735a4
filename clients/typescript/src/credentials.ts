// Credentials: what a request is signed with: a key or token of the client's own, or the token of the run it is about.

import { InputError } from "./errors.js";
import type { MaybePromise, TokenManager } from "./tokens.js";

/** A bearer token, or a function that is asked for it, and asked again when the server says that it has expired. */
export type AccessToken = string | (() => MaybePromise<string>);

/** At most one of them. */
export interface CredentialOptions {
  /** A secret key (`sf_…`): may do everything. Never in a browser. */
  apiKey?: string | undefined;
  /** A public key (`sf_pub_…`): triggers the workflows listed as public; what it started it may watch with the run's token. */
  publicApiKey?: string | undefined;
  /** A JWT of your own, or a function that gives one. */
  token?: AccessToken | undefined;
}

/** Whom a request is about. */
export interface Concerned {
  runId?: string | undefined;
  accessToken?: AccessToken | undefined;
}

type Headers = Record<string, string>;

export class Credentials {
  /** Whether tokens of runs are of use: a client that may see every run needs none. */
  readonly needsRunTokens: boolean;

  constructor(
    private readonly own: CredentialOptions,
    private readonly tokens: TokenManager,
  ) {
    const given = (["apiKey", "publicApiKey", "token"] as const).filter((name) => own[name] !== undefined);
    if (given.length > 1) throw new InputError(`give one credential, not ${given.join(" and ")}`);
    for (const name of given) checked(name, own[name]);
    this.needsRunTokens = own.apiKey === undefined && own.token === undefined;
  }

  /** The headers of a request. `stale`: the server refused the former ones; undefined if there are no others to be had. */
  async headers({ runId, accessToken }: Concerned, stale = false): Promise<Headers | undefined> {
    const given = accessToken ?? this.own.token;
    if (typeof given === "function") return bearer(await given());
    if (given !== undefined && !stale) return bearer(given);
    if (runId !== undefined && (accessToken !== undefined || this.needsRunTokens)) {
      const known = await (stale ? this.tokens.refresh(runId) : this.tokens.get(runId));
      if (known !== null) return bearer(known);
    }
    if (stale) return undefined;
    const key = this.own.apiKey ?? this.own.publicApiKey;
    return key === undefined ? {} : { "X-API-Key": key };
  }
}

function bearer(token: string): Headers {
  checked("token", token);
  return { Authorization: `Bearer ${token}` };
}

/** What can travel in a header. It is never told in an error. */
function checked(name: string, value: unknown): void {
  if (typeof value === "function" || (typeof value === "string" && /^[\x21-\x7e]+$/.test(value))) return;
  throw new InputError(`${name} is empty, or not printable ASCII without spaces`);
}
