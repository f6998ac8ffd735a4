// Requests: what is repeated and what is not, what is given up, and who they are signed by.

import { createServer, type AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import {
  ForbiddenError,
  InputError,
  RemoteError,
  ResultTimeoutError,
  RunFailedError,
  RunPausedError,
  ServerUnavailableError,
  StepflowClient,
  type StepflowClientOptions,
} from "../src/index.js";
import { answerJson, answerProblem, ScriptedServer } from "./support/server.js";

const RUN = { id: "r1", status: "running", output: null, error: null, pauseReason: null };
const TRIGGERED = { runId: "r1", publicAccessToken: "pat_1", expiresAt: null, created: true };

/** A client whose pauses take no time, and are noted. */
function clientOf(server: ScriptedServer, options: Partial<StepflowClientOptions> = {}) {
  const pauses: number[] = [];
  const pause = (milliseconds: number): Promise<void> => {
    pauses.push(milliseconds);
    return Promise.resolve();
  };
  return {
    client: new StepflowClient({ baseUrl: server.url, pause, random: () => 0.5, ...options }),
    pauses,
  };
}

describe("a call that is safe to repeat", () => {
  test("is repeated while the server is busy, with growing pauses, and no more often than it may", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      answerProblem(response, 503, "storage-unavailable");
    });
    const { client, pauses } = clientOf(server);

    await expect(client.getRun("r1")).rejects.toThrow(ServerUnavailableError);

    expect(server.arrived).toHaveLength(5);
    expect(pauses).toEqual([187.5, 375, 750, 1500]);
  });

  test("is repeated when the connection breaks, even in the middle of an answer", async () => {
    await using server = await ScriptedServer.start((_, response, number) => {
      if (number === 0) response.destroy();
      else if (number === 1) {
        response.writeHead(200, { "Content-Length": "1000" });
        response.write('{"id":', () => response.destroy());
      } else answerJson(response, RUN);
    });
    const { client } = clientOf(server);

    expect(await client.getRun("r1")).toEqual(RUN);
  });

  test("waits as long as the server wants, in seconds or until a date", async () => {
    const date = new Date(Date.now() + 20_000).toUTCString();
    await using server = await ScriptedServer.start((_, response, number) => {
      if (number < 2) answerJson(response, {}, 503, { "Retry-After": number ? date : "7" });
      else answerJson(response, RUN);
    });
    const { client, pauses } = clientOf(server, { timeout: 60_000 });

    await client.getRun("r1");

    expect(pauses[0]).toBe(7187.5);
    expect(pauses[1]).toBeGreaterThan(17_000);
    expect(pauses[1]).toBeLessThan(21_000);
  });

  test("is given up when the pause would not fit into its time", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      answerJson(response, {}, 429, { "Retry-After": "3600" });
    });
    const { client, pauses } = clientOf(server);

    await expect(client.getRun("r1")).rejects.toMatchObject({ status: 429, retryAfter: 3600 });
    expect(pauses).toEqual([]);
  });
});

describe("a call that is not", () => {
  test("is sent once, whatever becomes of it", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      response.destroy();
    });
    const { client } = clientOf(server);

    await expect(client.cancelRun("r1")).rejects.toThrow(ServerUnavailableError);
    expect(server.arrived).toHaveLength(1);
  });

  test("is repeated if the server says that it did nothing", async () => {
    await using server = await ScriptedServer.start((_, response, number) => {
      if (number === 0) answerProblem(response, 503, "closing");
      else answerJson(response, { runId: "r1", status: "paused" });
    });
    const { client } = clientOf(server);

    expect(await client.pauseRun("r1")).toEqual({ runId: "r1", status: "paused" });
  });
});

describe("a trigger", () => {
  test("is sent under one key however often it is sent, and was ours", async () => {
    await using server = await ScriptedServer.start((_, response, number) => {
      if (number === 0) response.destroy();
      else answerJson(response, { ...TRIGGERED, created: false });
    });
    const { client } = clientOf(server);

    const run = await client.trigger("checkout", { total: 1 });

    const keys = server.arrived.map(({ headers }) => headers["idempotency-key"]);
    expect(keys[0]).toMatch(/^client-[0-9a-f]{32}$/);
    expect(keys).toEqual([keys[0], keys[0]]);
    expect(run.created).toBe(true);
  });

  test("has keys that differ", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      answerJson(response, TRIGGERED);
    });
    const client = new StepflowClient({ baseUrl: server.url });

    for (let round = 0; round < 5; round++) await client.trigger("checkout");

    expect(new Set(server.arrived.map(({ headers }) => headers["idempotency-key"])).size).toBe(5);
  });

  test("carries what it is told", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      answerJson(response, TRIGGERED);
    });
    const { client } = clientOf(server, { apiKey: "sf_1" });

    await client.trigger("check out", undefined, {
      runId: "r/1",
      delay: 1500,
      tags: { tenant: "a:b", x: "1" },
      priority: 0,
    });

    expect(server.arrived[0]).toMatchObject({
      path: "/trigger/check out",
      body: null,
      query: [
        ["delay", "1500ms"],
        ["priority", "0"],
        ["runId", "r/1"],
        ["tag", "tenant:a:b"],
        ["tag", "x:1"],
      ],
    });
  });

  test.each([
    ["an id and a key", () => ({ runId: "a", idempotencyKey: "b" })],
    ["a key that can't travel", () => ({ idempotencyKey: "snow ☃" })],
    ["a tag with a colon", () => ({ tags: { "a:b": "c" } })],
  ])("with %s is refused before it is sent", async (_, options) => {
    await using server = await ScriptedServer.start(() => undefined);
    const { client } = clientOf(server);

    await expect(client.trigger("checkout", 1, options())).rejects.toThrow(InputError);
    expect(server.arrived).toEqual([]);
  });
});

describe("a path", () => {
  test.each(["", ".", ".."])("is never made of the id %j", async (id) => {
    await using server = await ScriptedServer.start(() => undefined);
    const { client } = clientOf(server);

    await expect((async () => client.getRun(id))()).rejects.toThrow(InputError);
    await expect((async () => client.notify(`a/${id}/b`, 1))()).rejects.toThrow(InputError);
    expect(server.arrived).toEqual([]);
  });
});

describe("a caller", () => {
  test("may give up while it waits for the answer, and the connection is given up", async () => {
    const controller = new AbortController();
    let closed = Promise.resolve();
    await using server = await ScriptedServer.start((request) => {
      closed = request.aborted;
      controller.abort(new Error("I have to go"));
    });
    const { client } = clientOf(server);

    await expect(client.getRun("r1", { signal: controller.signal })).rejects.toThrow("I have to go");
    await closed;
  });

  test("may give up in a pause, and before anything was sent", async () => {
    const controller = new AbortController();
    await using server = await ScriptedServer.start((_, response) => {
      answerProblem(response, 503, "unavailable");
      response.on("close", () => {
        controller.abort();
      });
    });
    const client = new StepflowClient({ baseUrl: server.url, random: () => 1, timeout: 1e9, attempts: 1e9 });

    const { signal } = controller;
    await expect(client.getRun("r1", { signal })).rejects.toMatchObject({ name: "AbortError" });
    const sent = server.arrived.length;
    await expect(client.getRun("r1", { signal })).rejects.toMatchObject({ name: "AbortError" });
    expect(server.arrived).toHaveLength(sent);
  });

  test("is told when a server never answers", async () => {
    await using server = await ScriptedServer.start(() => undefined);
    const { client } = clientOf(server, { timeout: 50 });

    await expect(client.getRun("r1")).rejects.toThrow("took too long");
  });

  test("is told when nobody is there, or somebody else", async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    await using other = await ScriptedServer.start((_, response) => {
      response.writeHead(200).end("<html>");
    });

    const nobody = new StepflowClient({ baseUrl: `http://127.0.0.1:${port}`, attempts: 1 });
    await expect(nobody.getRun("r1")).rejects.toThrow(ServerUnavailableError);
    await expect(clientOf(other).client.getRun("r1")).rejects.toThrow(/not JSON; does baseUrl lead to/);
  });

  test("is not led elsewhere with its credential", async () => {
    await using elsewhere = await ScriptedServer.start((_, response) => {
      answerJson(response, RUN);
    });
    await using server = await ScriptedServer.start((_, response) => {
      response.writeHead(307, { Location: `${elsewhere.url}/runs/r1` }).end();
    });
    const { client } = clientOf(server, { apiKey: "sf_secret" });

    await expect(client.getRun("r1")).rejects.toThrow(RemoteError);
    expect(elsewhere.arrived).toEqual([]);
  });
});

describe("waiting for a run", () => {
  test("asks again and again, and is patient with trouble once the run is known", async () => {
    await using server = await ScriptedServer.start((_, response, number) => {
      if (number === 0) answerJson(response, RUN);
      else if (number < 9) answerProblem(response, 503, "closing");
      else answerJson(response, { ...RUN, status: "completed", output: 42 });
    });
    const { client } = clientOf(server);

    expect(await client.waitForResult("r1")).toBe(42);
    expect(server.arrived[0]?.query).toEqual([["wait", "30s"]]);
  });

  test("does not ask a server that holds nothing back as fast as it can", async () => {
    await using server = await ScriptedServer.start((_, response, number) => {
      answerJson(response, number < 3 ? RUN : { ...RUN, status: "completed" });
    });
    const { client, pauses } = clientOf(server);

    await client.waitForRun("r1");

    expect(pauses).toHaveLength(3);
    for (const pause of pauses) expect(pause).toBeGreaterThan(100);
  });

  test("ends in time: the run goes on", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      answerJson(response, RUN);
    });
    const { client } = clientOf(server);

    await expect(client.waitForRun("r1", { timeout: 0 })).rejects.toThrow(ResultTimeoutError);
    expect(server.arrived).toHaveLength(1);
    expect(server.arrived[0]?.query).toEqual([]);
  });

  test("has the result of a run that has one, and otherwise says why there is none", async () => {
    const error = { type: "ValueError", message: "no luck" };
    const runs: Record<string, object> = {
      large: { status: "completed", output: { omitted: 70_000 } },
      failed: { status: "failed", error },
      paused: { status: "paused", pauseReason: "requested" },
    };
    await using server = await ScriptedServer.start(({ path, query }, response) => {
      const id = path.slice("/runs/".length);
      const whole = query.some(([name]) => name === "full") ? { output: "x".repeat(70_000) } : {};
      answerJson(response, { ...RUN, id, ...runs[id], ...whole });
    });
    const { client } = clientOf(server);

    expect(await client.waitForResult("large")).toBe("x".repeat(70_000));
    await expect(client.waitForResult("failed")).rejects.toThrow(RunFailedError);
    await expect(client.waitForResult("failed")).rejects.toMatchObject({ failure: error });
    await expect(client.waitForResult("paused")).rejects.toThrow(RunPausedError);
  });
});

describe("a credential", () => {
  test.each([
    [{ apiKey: "sf_1" }, { "x-api-key": "sf_1", authorization: undefined }],
    [{ publicApiKey: "sf_pub_1" }, { "x-api-key": "sf_pub_1", authorization: undefined }],
    [{ token: "jwt" }, { "x-api-key": undefined, authorization: "Bearer jwt" }],
    [{ token: () => Promise.resolve("fresh") }, { authorization: "Bearer fresh" }],
    [{}, { "x-api-key": undefined, authorization: undefined }],
  ])("%o travels as it should", async (options, headers) => {
    await using server = await ScriptedServer.start((_, response) => {
      answerJson(response, RUN);
    });

    await clientOf(server, options).client.getRun("r1");

    expect(server.arrived[0]?.headers).toMatchObject(
      Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)),
    );
    for (const [name, value] of Object.entries(headers)) {
      expect(server.arrived[0]?.headers[name]).toBe(value);
    }
  });

  test("given twice, or one that can't travel, is refused without being told", () => {
    expect(() => new StepflowClient({ baseUrl: "/x", apiKey: "a", token: "b" })).toThrow("apiKey and token");
    expect(() => new StepflowClient({ baseUrl: "/x", apiKey: "" })).toThrow(InputError);
    expect(() => new StepflowClient({ baseUrl: "/x", apiKey: "geheim\n" })).toThrow(/^(?!.*geheim)/s);
    expect(() => new StepflowClient({ baseUrl: "" })).toThrow("baseUrl");
  });

  test("of the run goes before the public key, which can't look at runs", async () => {
    await using server = await ScriptedServer.start(({ method }, response) => {
      answerJson(response, method === "POST" ? TRIGGERED : RUN);
    });
    const { client } = clientOf(server, { publicApiKey: "sf_pub_1" });

    const { runId } = await client.trigger("checkout");
    await client.getRun(runId);
    await client.getRun("another", { accessToken: "pat_2" });

    expect(server.arrived.map(({ headers }) => headers.authorization ?? headers["x-api-key"])).toEqual([
      "sf_pub_1",
      "Bearer pat_1",
      "Bearer pat_2",
    ]);
  });

  test("that is refused is renewed once, if there is a way to", async () => {
    let token = 0;
    await using server = await ScriptedServer.start(({ headers }, response) => {
      if (headers.authorization === "Bearer t2") answerJson(response, RUN);
      else answerProblem(response, 401, "unauthenticated");
    });

    await clientOf(server, { token: () => `t${++token}` }).client.getRun("r1");
    expect(server.arrived).toHaveLength(2);
    await expect(clientOf(server, { token: () => "t0" }).client.getRun("r1")).rejects.toMatchObject({
      status: 401,
    });
    expect(server.arrived).toHaveLength(4);
    await expect(clientOf(server, { apiKey: "k" }).client.getRun("r1")).rejects.toMatchObject({
      status: 401,
    });
    expect(server.arrived).toHaveLength(5);
  });

  test("whose provider fails is told as it is, and nothing is sent", async () => {
    await using server = await ScriptedServer.start(() => undefined);
    const token = (): Promise<string> => Promise.reject(new ForbiddenError("signed out"));

    await expect(clientOf(server, { token }).client.getRun("r1")).rejects.toThrow("signed out");
    expect(server.arrived).toEqual([]);
  });
});
