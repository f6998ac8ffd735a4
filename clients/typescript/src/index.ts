// @stepflow/client: start, follow and steer durable workflows from any JavaScript environment.

// `export *`, so that a program can augment Register in the name of this package.
export * from "./register.js";
export * from "./records.js";
export * from "./errors.js";
export { applyEvent } from "./events.js";
export type * from "./events.js";
export * from "./client.js";
export * from "./tokens.js";
export type { MaybePromise, RunTokens, StoredToken } from "./run-tokens.js";
export * from "./transport.js";
export type { AccessToken, CredentialOptions } from "./credentials.js";
export type { Duration, ListRunsOptions, NotifyOptions, RunTokenOptions, TriggerOptions } from "./calls.js";
export type { ConnectionState, FollowOptions } from "./follow.js";
export type { RunHandlers, SubscribeOptions } from "./subscription.js";
export type { Pause } from "./time.js";
