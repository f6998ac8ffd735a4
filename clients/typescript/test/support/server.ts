// Server: a real HTTP server on a free port, whose answers a test writes one by one.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request as it arrived, its body read. */
export interface Arrived {
  method: string;
  path: string;
  query: [string, string][];
  headers: IncomingMessage["headers"];
  body: unknown;
  aborted: Promise<void>;
}

export type Answer = (request: Arrived, response: ServerResponse, number: number) => unknown;

/** Answers every request as `answer` says, and keeps what arrived. `number` counts from 0. */
export class ScriptedServer {
  readonly arrived: Arrived[] = [];
  private constructor(
    readonly url: string,
    private readonly end: () => Promise<void>,
  ) {}

  static async start(answer: Answer): Promise<ScriptedServer> {
    const failures: unknown[] = [];
    const http = createServer((request, response) => {
      void (async () => {
        const arrived = await read(request, response);
        await answer(arrived, response, server.arrived.push(arrived) - 1);
      })().catch((error: unknown) => {
        failures.push(error);
        response.destroy();
      });
    });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const { port } = http.address() as AddressInfo;
    const server = new ScriptedServer(`http://127.0.0.1:${port}/base`, async () => {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
      if (failures.length) throw failures[0] as Error;
    });
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

async function read(request: IncomingMessage, response: ServerResponse): Promise<Arrived> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const text = Buffer.concat(parts).toString();
  const url = new URL(request.url ?? "", "http://server");
  return {
    method: request.method ?? "",
    path: decodeURIComponent(url.pathname.replace(/^\/base/, "")),
    query: [...url.searchParams].sort(),
    headers: request.headers,
    body: text ? (JSON.parse(text) as unknown) : undefined,
    aborted: new Promise((resolve) => response.on("close", resolve)),
  };
}

export function answerJson(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}

export function answerProblem(
  response: ServerResponse,
  status: number,
  type: string,
  data: object = {},
): void {
  answerJson(response, { ...data, type, title: type, status, detail: `this is ${type}` }, status);
}

/** One event as it is written. */
export function written(event: string, data: object, id?: string): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

export function beginStream(response: ServerResponse): void {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.flushHeaders();
}
