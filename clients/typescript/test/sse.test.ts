// The parser of server-sent events: whatever the cuts, the same messages.

import { describe, expect, test } from "vitest";
import { parserFrom, type Message } from "../src/sse.js";
import { seeded } from "./support/random.js";

const STREAM = [
  "\uFEFFretry: 1500\n\n",
  ": a comment\r\n",
  "id: 1.0\r\nevent: step:complete\r\ndata: one\r\n\r\n",
  "id: 2.0\rdata: two\rdata:  lines\r\r",
  "event: no-data\n\n",
  "data\n\n",
  "unknown: field\nid: with\0nul\ndata: 😀 é\uFEFF\n\n",
  "id\ndata: no id any more\nretry: soon\n\n",
  "data: half an event",
].join("");

const MESSAGES: Message[] = [
  { event: "step:complete", data: "one", id: "1.0" },
  { event: "message", data: "two\n lines", id: "2.0" },
  { event: "message", data: "", id: "2.0" },
  { event: "message", data: "😀 é\uFEFF", id: "2.0" },
  { event: "message", data: "no id any more", id: "" },
];

describe("a stream of server-sent events", () => {
  test("means the same, wherever it is cut in two", () => {
    for (let cut = 0; cut <= STREAM.length; cut++) {
      const parser = parserFrom();
      expect([...parser.feed(STREAM.slice(0, cut)), ...parser.feed(STREAM.slice(cut))]).toEqual(MESSAGES);
      expect(parser.retry).toBe(1500);
    }
  });

  test("means the same in pieces of any size", () => {
    const random = seeded(20);
    for (let round = 0; round < 300; round++) {
      const parser = parserFrom();
      const found: Message[] = [];
      for (let at = 0; at < STREAM.length;) {
        const end = at + Math.floor(random() * 6);
        found.push(...parser.feed(STREAM.slice(at, end)));
        at = end;
      }
      expect(found).toEqual(MESSAGES);
    }
  });

  test("gives an event as soon as its last line has ended, even by a lone CR", () => {
    expect(parserFrom().feed("data: now\r\r")).toEqual([{ event: "message", data: "now", id: "" }]);
  });

  test("goes on with the id that the reader had", () => {
    expect(parserFrom("7.0").feed("data: x\n\n")).toEqual([{ event: "message", data: "x", id: "7.0" }]);
  });

  test("of endless length is refused, instead of filling the memory", () => {
    const parser = parserFrom();
    const piece = "x".repeat(1024 * 1024);
    expect(() => {
      for (let size = 0; size <= 64; size++) parser.feed(piece);
    }).toThrow(RangeError);
  });

  test("may be long, as long as its events are not", () => {
    const parser = parserFrom();
    const piece = `data: ${"x".repeat(1024 * 1024)}\n\n`;
    for (let size = 0; size <= 70; size++) expect(parser.feed(piece)).toHaveLength(1);
  });
});
