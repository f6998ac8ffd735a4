// The offline queue: what is kept is sent when it can be, in order, once, and survives the app.
import type { ServerResponse } from "node:http";
import { act, cleanup, renderHook, waitFor } from "@testing-library/react-native";
import { StrictMode, type ReactElement, type ReactNode } from "react";
import type { StepflowClient } from "@stepflow/client";
import {
  createNativeClient,
  OfflineQueue,
  OfflineQueueProvider,
  QueueFullError,
  QueueUnreadableError,
  Reachability,
  useOfflineQueue,
  useQueuedNotify,
  useQueuedTrigger,
  type FailedCall,
  type OfflineQueueOptions,
} from "@stepflow/react-native";
import { Disk, Network, put } from "../phone/phone";
import { json, problem, ScriptedServer } from "../../../react/test/scripted-server";

const LONG = { timeout: 15_000 };
let server: ScriptedServer;
let network: Network;
let reachability: Reachability;
let client: StepflowClient;
let disk: Disk;
const queues: OfflineQueue[] = [];

beforeEach(async () => {
  server = await ScriptedServer.start();
  network = new Network();
  reachability = new Reachability({ network });
  client = createNativeClient({ baseUrl: server.baseUrl, apiKey: "sf_secret", reachability, attempts: 1 });
  disk = new Disk();
});

afterEach(async () => {
  cleanup();
  for (const queue of queues.splice(0)) queue.close();
  put("active");
  reachability.close();
  await server.close();
});

function newQueue(options: Partial<OfflineQueueOptions> = {}): OfflineQueue {
  const queue = new OfflineQueue({ client, storage: disk, reachability, ...options });
  queues.push(queue);
  return queue;
}

function sent(): (string | number)[] {
  return server.requests.map(({ body }) => body as number);
}

function keysSent(): (string | undefined)[] {
  return server.requests.map(({ headers, url }) =>
    url.startsWith("/trigger/")
      ? (headers["idempotency-key"] as string | undefined)
      : (new RegExp("[?&]id=([^&]*)").exec(url)?.[1] ?? undefined),
  );
}

test("with a network a call is sent at once, under its key", async () => {
  const queue = newQueue();
  const run = await queue.trigger("checkout", 1);
  await expect(run.answer).resolves.toMatchObject({ runId: "run-1" });
  const event = await queue.notify("approval/1", 2, { runId: "run-1" });
  await expect(event.answer).resolves.toEqual({ id: "event-1", woken: 1 });

  expect(keysSent()).toEqual([run.key, event.key]);
  await waitFor(() =>
    expect(queue.state).toEqual({ pending: [], failed: [], isSending: false, error: undefined }),
  );
});

test("without one it is kept, and sent in order when there is one", async () => {
  const queue = newQueue();
  network.set(false);
  for (let number = 0; number < 10; number++) {
    if (number % 2) await queue.notify(`event/${number}`, number);
    else await queue.trigger("checkout", number);
  }
  expect(queue.state.pending).toHaveLength(10);
  expect(server.requests).toEqual([]);

  network.set(true);
  await waitFor(() => expect(queue.state.pending).toEqual([]), LONG);
  expect(sent()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(new Set(keysSent()).size).toBe(10);
});

test("the app may be killed: the next one sends what was kept, under the same keys", async () => {
  network.set(false);
  const first = newQueue();
  const kept = [await first.trigger("checkout", 1), await first.notify("approval/1", 2)];
  first.close();

  const answers: unknown[] = [];
  const next = newQueue({ onSent: (call, answer) => answers.push([call.key, answer]) });
  network.set(true);
  await waitFor(() => expect(answers).toHaveLength(2), LONG);
  expect(keysSent()).toEqual(kept.map(({ key }) => key));
  await next.flush();
  const third = newQueue();
  await third.flush();
  expect(third.state.pending).toEqual([]);
  expect(server.requests).toHaveLength(2);
});

test("an answer that was lost is asked for again under the same key, before anything else", async () => {
  server.answer = (_, __, response) => {
    server.answer = undefined;
    response.destroy(); // the server has done it; nobody knows
  };
  const queue = newQueue();
  const first = await queue.trigger("checkout", 1);
  const second = await queue.trigger("checkout", 2);
  await Promise.all([first.answer, second.answer]);
  expect(keysSent()).toEqual([first.key, first.key, second.key]);
});

test("a busy server is asked again when the app is back in sight", async () => {
  server.answer = (_, __, response) => {
    problem(response, 503, "unavailable");
  };
  const queue = newQueue();
  const call = await queue.trigger("checkout", 1);
  await waitFor(() => expect(queue.state.error).toBeDefined(), LONG);
  expect(queue.state.pending).toHaveLength(1);
  put("background");
  server.answer = undefined;
  put("active");
  await expect(call.answer).resolves.toMatchObject({ runId: "run-1" });
  expect(queue.state.error).toBeUndefined();
});

test("what the server refuses is reported and kept apart; what comes behind it is sent", async () => {
  server.answer = (_, body, response) => {
    if (body === 1) problem(response, 400, "invalid-input", { path: "$" });
    else json(response, 200, { runId: "r2", publicAccessToken: null, expiresAt: null, created: true });
  };
  const failures: FailedCall[] = [];
  const queue = newQueue({ onFailed: (failed) => failures.push(failed) });
  const bad = await queue.trigger("checkout", 1);
  const good = await queue.trigger("checkout", 2);
  await expect(bad.answer).rejects.toMatchObject({ name: "InputError" });
  await expect(good.answer).resolves.toMatchObject({ runId: "r2" });

  expect(failures).toMatchObject([
    { call: { key: bad.key, input: 1 }, error: { type: "invalid-input", status: 400 } },
  ]);
  expect(queue.state.failed).toEqual(failures);
  const next = newQueue();
  await next.flush();
  expect(next.state.failed).toEqual(failures); // also after a new start
  await next.discard(bad.key);
  expect(next.state.failed).toEqual([]);
});

test("a server that keeps failing at one call does not hold up the others for ever", async () => {
  server.answer = (_, body, response) => {
    if (body === 1) problem(response, 500, "internal-error");
    else json(response, 200, { runId: "r2", publicAccessToken: null, expiresAt: null, created: true });
  };
  const queue = newQueue();
  const bad = await queue.trigger("checkout", 1);
  const good = await queue.trigger("checkout", 2);
  const refused = expect(bad.answer).rejects.toMatchObject({ status: 500 });
  for (let time = 0; time < 6; time++) await queue.flush();
  await refused;
  await expect(good.answer).resolves.toMatchObject({ runId: "r2" });
});

test("a credential that is refused loses nothing: it waits for a good one", async () => {
  let token = "old";
  server.answer = (_, __, response) => {
    if (server.requests.at(-1)?.headers.authorization === "Bearer new") {
      json(response, 200, { runId: "r1", publicAccessToken: null, expiresAt: null, created: true });
    } else problem(response, 401, "unauthenticated");
  };
  client = createNativeClient({ baseUrl: server.baseUrl, token: () => token, reachability });
  const queue = newQueue();
  const call = await queue.trigger("checkout", 1);
  await waitFor(() => expect(queue.state.error?.name).toBe("UnauthenticatedError"), LONG);
  expect(queue.state.pending).toHaveLength(1);
  token = "new";
  await queue.flush();
  await expect(call.answer).resolves.toMatchObject({ runId: "r1" });
});

test("it is bounded, by number and by size", async () => {
  network.set(false);
  const few = newQueue({ limit: 2 });
  await few.trigger("checkout", 1);
  await few.trigger("checkout", 2);
  const more = [3, 4].map((number) => few.trigger("checkout", number));
  for (const each of more) await expect(each).rejects.toBeInstanceOf(QueueFullError);
  expect(few.state.pending).toHaveLength(2);

  const small = newQueue({ key: "small", size: 1000 });
  await expect(small.notify("approval/1", "x".repeat(1000))).rejects.toBeInstanceOf(QueueFullError);
  expect(small.state.pending).toEqual([]);
});

test("a call that can't be kept is refused, and not sent behind one's back", async () => {
  network.set(false);
  const queue = newQueue();
  await queue.flush();
  disk.broken = new Error("the disk is full");
  await expect(queue.trigger("checkout", 1)).rejects.toThrow("the disk is full");
  await queue.trigger("checkout", 2);
  network.set(true);
  await waitFor(() => expect(queue.state.pending).toEqual([]), LONG);
  expect(sent()).toEqual([2]);
});

test("a call is in the storage before it is on its way", async () => {
  const kept: boolean[] = [];
  const queue = newQueue();
  const first = await queue.trigger("checkout", 0);
  server.answer = (_, body, response) => {
    kept.push((disk.files.get("stepflow:queue") ?? "").includes(`"input":${String(body)}`));
    json(response, 200, { runId: "r1", publicAccessToken: null, created: true });
  };
  disk.slow = 3;
  const rest = await Promise.all([1, 2, 3].map((number) => queue.trigger("checkout", number)));
  await Promise.all([first, ...rest].map(({ answer }) => answer));
  expect(kept.length).toBeGreaterThanOrEqual(3);
  expect(kept).not.toContain(false);
});

test("what can't be read is neither lost nor sent; clear makes a fresh start", async () => {
  disk.files.set("stepflow:queue", "not ours");
  const queue = newQueue();
  await expect(queue.flush()).rejects.toBeInstanceOf(QueueUnreadableError);
  await expect(queue.trigger("checkout", 1)).rejects.toMatchObject({ text: "not ours" });
  expect(disk.files.get("stepflow:queue")).toBe("not ours");
  await queue.clear();
  const call = await queue.trigger("checkout", 1);
  await expect(call.answer).resolves.toMatchObject({ runId: "run-1" });
});

test("a call that is discarded is not sent", async () => {
  network.set(false);
  const queue = newQueue();
  const one = await queue.trigger("checkout", 1);
  await queue.trigger("checkout", 2);
  await queue.discard(one.key);
  await expect(one.answer).rejects.toThrow("was discarded");
  network.set(true);
  await waitFor(() => expect(queue.state.pending).toEqual([]), LONG);
  expect(sent()).toEqual([2]);
});

test("components see the queue, and what became of their calls", async () => {
  network.set(false);
  const queue = newQueue();
  const wrapper = ({ children }: { children: ReactNode }): ReactElement => (
    <StrictMode>
      <OfflineQueueProvider queue={queue}>{children}</OfflineQueueProvider>
    </StrictMode>
  );
  const { result } = renderHook(
    () => ({ queue: useOfflineQueue(), checkout: useQueuedTrigger("checkout"), event: useQueuedNotify() }),
    { wrapper },
  );
  await act(async () => {
    await result.current.checkout.trigger({ total: 1 });
    await result.current.event.notify("approval/1", { approved: true });
  });
  expect(result.current.queue.pending).toHaveLength(2);
  expect(result.current.checkout).toMatchObject({ isPending: true, run: undefined });

  network.set(true);
  await waitFor(() => expect(result.current.event.notified).toEqual({ id: "event-1", woken: 1 }), LONG);
  expect(result.current.checkout).toMatchObject({ isPending: false, run: { runId: "run-1" } });
  expect(result.current.queue.pending).toEqual([]);
});

test("calls that are made while another is sent lose nothing", async () => {
  const held: ServerResponse[] = [];
  server.answer = (_, __, response) => held.push(response);
  const queue = newQueue();
  await queue.trigger("checkout", 0);
  await waitFor(() => expect(held).toHaveLength(1), LONG);
  await Promise.all([1, 2, 3].map((number) => queue.trigger("checkout", number)));
  server.answer = undefined;
  for (const response of held) json(response, 200, { runId: "r0", publicAccessToken: null, created: true });
  await waitFor(() => expect(queue.state.pending).toEqual([]), LONG);
  expect(sent()).toEqual([0, 1, 2, 3]);
});
