// The golden exchanges of spec/fixtures, played by a real HTTP server: the client asks what is recorded, and understands the answer.

import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { StepflowClient, StepflowError, type StreamEvent } from "../src/index.js";
import { ROOT } from "./support/paths.js";
import { beginStream, ScriptedServer, written, type Arrived } from "./support/server.js";

interface Exchange {
  request: { method: string; path: string; headers: Record<string, string>; body?: unknown };
  response: { status: number; body?: unknown; stream?: { id: string; event: string; data: object }[] };
}

const SECRET = "sf_contract_secret_0123456789";
const VALUES = { time: "2026-01-31T12:00:00.000Z", secret: SECRET, cursor: "opaque", token: "pat_x.y" };

function* exchanges(): Generator<[string, Exchange]> {
  const folder = `${ROOT}spec/fixtures/`;
  for (const file of readdirSync(folder).sort()) {
    let text = readFileSync(folder + file, "utf8");
    for (const [name, value] of Object.entries(VALUES)) text = text.replaceAll(`{{${name}}}`, value);
    text = text.replaceAll(/\{\{run(\d)\}\}/g, "run_$1");
    const { exchanges: found } = JSON.parse(text) as { exchanges: Exchange[] };
    for (const [number, exchange] of found.entries()) yield [`${file} ${number}`, exchange];
  }
}

/** What a request means, however it is written: an id may travel in the path or the body, a cursor in a header or the query. */
function meaning({ method, path, query, headers, body }: Omit<Arrived, "aborted">) {
  const named = Object.fromEntries(query);
  const asked = {
    method,
    path,
    query: query.filter(([name]) => name !== "lastEventId"),
    cursor: (headers["last-event-id"] as string | undefined) ?? named["lastEventId"],
    apiKey: headers["x-api-key"],
    idempotencyKey: headers["idempotency-key"] as string | undefined,
    body,
  };
  if (path !== "/notify") return asked;
  const { eventId, payload } = body as { eventId: string; payload: unknown };
  return { ...asked, path: `/notify/${eventId}`, body: payload };
}

type Meaning = ReturnType<typeof meaning>;

function wanted({ request }: Exchange): Meaning {
  const url = new URL(request.path, "http://server");
  const { method, headers, body } = request;
  return meaning({
    method,
    headers,
    body,
    path: decodeURIComponent(url.pathname),
    query: [...url.searchParams].sort(),
  });
}

/** The client's own way to ask it. */
function call(
  client: StepflowClient,
  { method, path, query, body, cursor, idempotencyKey }: Meaning,
): Promise<unknown> {
  const one: Record<string, string | undefined> = Object.fromEntries(query);
  const tags: Record<string, string> = Object.fromEntries(
    query.filter(([name]) => name === "tag").map(([, tag]) => tag.split(":") as [string, string]),
  );
  const [root, ...rest] = path.slice(1).split("/");
  const [id = "", operation] = rest;
  const { runId, status } = one;
  switch (`${method} ${root ?? ""} ${root === "runs" ? (operation ?? (id && "-")) : ""}`.trim()) {
    case "POST trigger":
      return client.trigger(id, body, { runId, idempotencyKey, tags });
    case "POST notify":
      return client.notify(rest.join("/"), body, { id: one["id"], runId, once: one["once"] === "true" });
    case "GET runs -":
      return "wait" in one ? client.waitForRun(id) : client.getRun(id);
    case "GET runs stream":
      return all(client.streamRun(id, { lastEventId: cursor }));
    case "GET stream":
      return all(
        client.streamRuns(
          query.flatMap(([name, value]) => (name === "runId" ? [value] : [])),
          { lastEventId: cursor },
        ),
      );
    case "GET runs":
      return client.listRuns({
        status,
        cursor: one["cursor"],
        limit: one["limit"] ? Number(one["limit"]) : undefined,
      });
    case "POST runs tokens":
      return client.createRunToken(id, body as { events: string[] });
    case "POST runs cancel":
      return client.cancelRun(id, { force: one["force"] === "true" });
    case "POST runs pause":
      return client.pauseRun(id);
    case "POST runs resume":
      return client.resumeRun(id);
    case "DELETE runs -":
      return client.deleteRun(id);
    case "GET health":
      return client.health();
    default:
      throw new Error(`${method} ${path}: this client does not know it`);
  }
}

async function all(events: AsyncIterable<StreamEvent>): Promise<StreamEvent[]> {
  const found: StreamEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

const CASES = [...exchanges()].filter(
  ([, { request }]) => (request.headers["content-type"] ?? "application/json") === "application/json",
); // what is sent as something else, no client of ours sends

test.each(CASES)("the exchange %s is reproduced", async (_, exchange) => {
  const { status, body, stream } = exchange.response;
  await using server = await ScriptedServer.start((_request, response) => {
    if (!stream) {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(body === undefined ? "" : JSON.stringify(body));
      return;
    }
    beginStream(response);
    response.end(`retry: 1000\n\n${stream.map(({ event, data, id }) => written(event, data, id)).join("")}`);
  });
  const asked = wanted(exchange);
  const apiKey = asked.apiKey as string | undefined;
  const client = new StepflowClient({ baseUrl: server.url, apiKey, attempts: 1, patience: 0 });

  const value: unknown = await call(client, asked).catch((error: unknown) => error);

  expect(server.arrived).toHaveLength(1);
  const got = meaning(server.arrived[0] as Arrived);
  if (asked.idempotencyKey === undefined && got.idempotencyKey) got.idempotencyKey = undefined; // or our own
  if (!asked.query.some(([name]) => name === "id")) got.query = got.query.filter(([name]) => name !== "id");
  expect(got).toEqual(asked);
  if (status >= 400) {
    expect(value).toBeInstanceOf(StepflowError);
    const { type, data, message, status: told } = value as StepflowError;
    expect({ ...data, type, status: told }).toEqual(expect.objectContaining({ type, status }));
    const { title, detail, ...others } = body as Record<string, string>;
    expect(message).toBe(detail === "" ? title : detail);
    expect({ ...data, type, status: told }).toEqual(others);
  } else {
    expect(value).toEqual(status === 204 ? [] : stream ? stream.map(({ data }) => data) : body);
  }
});
