// Code becomes what a phone runs: also that of the packages under test.
module.exports = { presets: ["@react-native/babel-preset"] };
