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

export interface Credentials {
  /** Whether tokens of runs are of use: a client that may see every run needs none. */
  needsRunTokens: boolean;
  /** The headers of a request. `stale`: the server refused the former ones; undefined if there are no others to be had. */
  headers: (concerned: Concerned, stale: boolean) => Promise<Headers | undefined>;
}

/** `InputError` for more than one credential, or one that can't travel. */
export function credentialsOf(own: CredentialOptions, tokens: TokenManager): Credentials {
  const { apiKey, publicApiKey, token } = own;
  const given = Object.entries({ apiKey, publicApiKey, token }).filter(([, value]) => value !== undefined);
  if (given.length > 1)
    throw new InputError(`give one credential, not ${given.map(([name]) => name).join(" and ")}`);
  for (const [, value] of given) if (typeof value !== "function") check(value);
  const needsRunTokens = apiKey === undefined && token === undefined;
  return {
    needsRunTokens,
    async headers({ runId, accessToken }, stale) {
      const bearer = accessToken ?? token;
      if (typeof bearer === "function") return signed(await bearer());
      if (bearer !== undefined && !stale) return signed(bearer);
      if (runId !== undefined && (accessToken !== undefined || needsRunTokens)) {
        const known = await tokens[stale ? "refresh" : "get"](runId);
        if (known !== null) return signed(known);
      }
      const key = apiKey ?? publicApiKey;
      return stale ? undefined : key === undefined ? {} : { "X-API-Key": key };
    },
  };
}

function signed(token: string): Headers {
  check(token);
  return { Authorization: `Bearer ${token}` };
}

/** What can travel in a header. It is never told in an error. */
function check(value: string | undefined): void {
  if (!/^[\x21-\x7e]+$/.test(value ?? ""))
    throw new InputError("a credential is empty, or not printable ASCII");
}
