// The globals of a phone: React Native's own, and none of those that only browsers and Node have.

for (const name of [
  "ReadableStream",
  "TransformStream",
  "WritableStream",
  "TextDecoderStream",
  "TextEncoderStream",
  "EventSource",
  "WebSocket",
  "fetch",
  "Request",
  "Response",
  "Headers",
  "FormData",
  "Blob",
  "File",
  "crypto",
  "structuredClone",
  "TextDecoder",
  "TextEncoder",
  "AbortController",
  "AbortSignal",
  "URL",
  "URLSearchParams",
  "BroadcastChannel",
  "MessageChannel",
  "DOMException",
]) {
  delete globalThis[name];
}
const { XMLHttpRequest } = {
  XMLHttpRequest: require("react-native/Libraries/Network/XMLHttpRequest").default,
};
const { AbortController, AbortSignal } = require("abort-controller/dist/abort-controller");
Object.assign(globalThis, { XMLHttpRequest, AbortController, AbortSignal });
globalThis.performance = { now: () => Number(process.hrtime.bigint()) / 1e6 };
