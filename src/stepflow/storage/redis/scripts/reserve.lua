-- The value of a key changes if it is what the caller thinks it is; empty stands for none.
-- KEYS: key; ARGV: one argument, packed: was, value
local change = cmsgpack.unpack(ARGV[1])
if (redis.call('GET', KEYS[1]) or '') ~= change.was then
  return 0
end
if change.value == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], change.value)
end
return 1
