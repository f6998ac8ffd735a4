// Credentials: what a request is signed with: a key or token of the client's own, or the token of the run it is about.

import { InputError } from "./errors.js";
import type { MaybePromise, RunTokens } from "./run-tokens.js";

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
  /** The headers of a request. `refusal`: the server's, of the former ones; it is thrown if there are no others to be had. */
  headers: (concerned: Concerned, refusal?: Error) => Promise<Headers>;
}

/** `InputError` for more than one credential, or one that can't travel. */
export function credentialsOf(own: CredentialOptions, tokens: RunTokens): Credentials {
  const { apiKey, publicApiKey, token } = own;
  const given = [apiKey, publicApiKey, token].filter((value) => value !== undefined);
  if (given.length > 1) throw new InputError("give one of publicApiKey, apiKey and token");
  for (const value of given) if (typeof value !== "function") checked(value);
  const key = apiKey ?? publicApiKey;
  const needsRunTokens = apiKey === undefined && token === undefined;
  return {
    needsRunTokens,
    async headers({ runId, accessToken }, refusal) {
      const bearer = accessToken ?? token;
      if (typeof bearer === "function") return signed(await bearer());
      if (bearer !== undefined && !refusal) return signed(bearer);
      if (runId !== undefined && (accessToken !== undefined || needsRunTokens)) {
        const known = await tokens[refusal ? "refresh" : "get"](runId);
        if (known !== null) return signed(known);
      }
      if (refusal) throw refusal;
      return key === undefined ? {} : { "X-API-Key": key };
    },
  };
}

function signed(token: string): Headers {
  return { Authorization: `Bearer ${checked(token)}` };
}

/** What can travel in a header. It is never told in an error. */
function checked(value: string): string {
  if (/^[\x21-\x7e]+$/.test(value)) return value;
  throw new InputError("a credential is empty, or not printable ASCII");
}
