// The order tracker's page in the style of clients/, whose tools look at it. (The app for phones is checked with React Native, in
// clients/react-native/device.)
import shared from "../clients/eslint.config.mjs";

export default [
  ...shared,
  { ignores: ["expo-approvals/**", "order-tracker/web/vite.config.ts"] },
  {
    files: ["**/*.ts", "**/*.tsx"],
    languageOptions: {
      parserOptions: {
        projectService: false,
        project: "clients/examples.tsconfig.json",
        tsconfigRootDir: `${import.meta.dirname}/..`,
      },
    },
  },
];
