// The table of problems against the server's own, which is asked in Python.

import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import * as client from "../src/index.js";
import type { ProblemType } from "../src/index.js";
import { python, ROOT } from "./support/paths.js";

/** Server-side classes whose difference matters to nobody outside. */
const OURS: Record<string, string> = {
  DurationError: "InputError",
  InvalidIdError: "InputError",
  SerializationError: "InputError",
  NotOpenError: "ServerUnavailableError",
  StorageUnavailableError: "ServerUnavailableError",
  StorageFullError: "ServerUnavailableError",
  SchemaError: "ServerUnavailableError",
  StorageError: "ServerUnavailableError",
  DeserializationError: "RemoteError",
  DefinitionError: "RemoteError",
};

const PROGRAM = `
import json
from stepflow.wire.problems import KINDS
print(json.dumps([[kind.type, kind.status, kind.raises.__name__] for kind in KINDS]))
`;

const SLUGS: Record<ProblemType, true> = {
  "invalid-json": true,
  "invalid-cursor": true,
  "invalid-duration": true,
  "invalid-id": true,
  "invalid-input": true,
  "unstorable-value": true,
  "payload-too-large": true,
  "run-not-found": true,
  "unknown-workflow": true,
  "run-conflict": true,
  "event-conflict": true,
  "operation-refused": true,
  unauthenticated: true,
  forbidden: true,
  "not-found": true,
  "method-not-allowed": true,
  "request-timeout": true,
  "body-too-large": true,
  "unsupported-media-type": true,
  "too-many-requests": true,
  "too-many-streams": true,
  closing: true,
  unavailable: true,
  "not-open": true,
  "storage-unavailable": true,
  "storage-full": true,
  "schema-mismatch": true,
  "storage-error": true,
  "unreadable-value": true,
  misconfigured: true,
  "internal-error": true,
};

const table = JSON.parse(execFileSync(python(), ["-c", PROGRAM], { cwd: ROOT, encoding: "utf8" })) as [
  string,
  number,
  string,
][];

test("every slug that the server knows is known here, and no other", () => {
  expect(table.map(([type]) => type).sort()).toEqual(Object.keys(SLUGS).sort());
});

test.each(table)("%s (%d) becomes the class that it is in Python", (type, status, raises) => {
  const body = JSON.stringify({ type, title: "a title", status, detail: "a detail", more: 1 });
  const error = client.errorOf(client.readProblem(status, body));
  expect(error.name).toBe(OURS[raises] ?? raises);
  expect(error).toBeInstanceOf(client[error.name as "StepflowError"]);
  expect(error).toMatchObject({ type, status, message: "a detail", data: { more: 1 } });
});

test("a slug of a newer server goes by its status, and one that is a name of JavaScript's own means nothing", () => {
  const newer = client.errorOf(client.readProblem(403, '{"type":"too-far-away"}'));
  const odd = client.errorOf(client.readProblem(418, '{"type":"constructor","__proto__":{"status":1}}'));
  expect(newer).toBeInstanceOf(client.ForbiddenError);
  expect(odd).toBeInstanceOf(client.RemoteError);
  expect(odd.status).toBe(418);
  expect(({} as Record<string, unknown>)["status"]).toBeUndefined();
});

test("a page that is no document is told by its status", () => {
  const error = client.errorOf(client.readProblem(502, "<html>Bad Gateway</html>"));
  expect(error).toBeInstanceOf(client.ServerUnavailableError);
  expect(error.message).toBe("HTTP status 502");
});
