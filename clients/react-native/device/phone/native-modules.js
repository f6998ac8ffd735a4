// The native half of the phone: the network, made of Node's sockets, and the app's state, which a test changes.
// Everything above it (XMLHttpRequest, AppState, AbortController, URL) is React Native's own.

jest.unmock("react-native/Libraries/AppState/AppState");

jest.mock("react-native/Libraries/AppState/NativeAppState", () => ({
  __esModule: true,
  default: {
    getConstants: () => ({ initialAppState: "active" }),
    getCurrentAppState: (tell) => tell({ app_state: "active" }),
    addListener: () => undefined,
    removeListeners: () => undefined,
  },
}));

jest.mock("react-native/Libraries/Network/NativeNetworkingIOS", () => {
  const http = require("node:http");
  const { StringDecoder } = require("node:string_decoder");
  const requests = new Map();
  let latest = 0;

  const tell = (name, ...parameters) => {
    require("react-native/Libraries/EventEmitter/RCTDeviceEventEmitter").default.emit(name, parameters);
  };

  const finish = (id, error = "") => {
    if (!requests.delete(id)) return; // given up: a phone tells no more of it
    tell("didCompleteNetworkResponse", id, error, false);
  };

  function receive(id, query, answer) {
    const decoder = new StringDecoder("utf8");
    const isText = query.responseType === "text";
    const incremental = query.incrementalUpdates && isText; // only text is told in pieces
    const pieces = [];
    let length = 0;
    tell("didReceiveNetworkResponse", id, answer.statusCode, answer.headers, query.url);
    answer.on("data", (bytes) => {
      const text = decoder.write(bytes);
      length += text.length;
      if (incremental) tell("didReceiveNetworkIncrementalData", id, text, length, -1);
      else pieces.push(bytes);
    });
    answer.on("end", () => {
      const whole = Buffer.concat(pieces);
      if (!incremental) tell("didReceiveNetworkData", id, whole.toString(isText ? "utf8" : "base64"));
      finish(id);
    });
    answer.on("error", (error) => finish(id, String(error)));
  }

  return {
    __esModule: true,
    default: {
      sendRequest(query, told) {
        const id = ++latest;
        const request = http.request(query.url, {
          method: query.method,
          headers: query.headers,
          agent: false,
        });
        requests.set(id, request);
        told(id);
        request.on("response", (answer) => receive(id, query, answer));
        request.on("error", (error) => finish(id, String(error)));
        request.end(query.data?.string);
      },
      abortRequest(id) {
        const request = requests.get(id);
        requests.delete(id);
        request?.destroy();
      },
      clearCookies: () => undefined,
      addListener: () => undefined,
      removeListeners: () => undefined,
    },
  };
});
