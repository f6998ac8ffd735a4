// React Native's own set-up, with a phone under it whose network is real; the packages are tested as they are built, and an example on them.
const path = require("node:path");

const built = (folder) => path.join(__dirname, "../..", folder, "dist/cjs/index.js");
const own = (name) => path.join(__dirname, "node_modules", name);

module.exports = {
  preset: "react-native",
  testMatch: ["<rootDir>/test/**/*.test.{ts,tsx}"],
  setupFiles: ["<rootDir>/phone/native-modules.js"],
  setupFilesAfterEnv: ["<rootDir>/phone/globals.js"],
  moduleNameMapper: {
    "^@stepflow/client$": built("typescript"),
    "^@stepflow/react$": built("react"),
    "^@stepflow/react-native$": built("react-native"),
    "^react$": own("react"),
    "^react/(.*)$": `${own("react")}/$1`,
    "^react-native$": own("react-native"),
    "^@babel/runtime/(.*)$": `${own("@babel/runtime")}/$1`,
    "^expo-secure-store$": own("expo-secure-store"),
    "^@react-native-async-storage/async-storage$": own("@react-native-async-storage/async-storage"),
    "^@react-native-community/netinfo$": own("@react-native-community/netinfo"),
  },
  testTimeout: 30_000,
  maxWorkers: 2,
};
