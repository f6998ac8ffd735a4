-- What a claimant needs to know of a partition: its lanes, the owners of its runs, and work left undone for too long.
-- KEYS: lanes, owners, pending; ARGV: one argument, packed: age in seconds
local before = redis.call('TIME')[1] - cmsgpack.unpack(ARGV[1]).age
return cmsgpack.pack({
  redis.call('SMEMBERS', KEYS[1]),
  redis.call('SMEMBERS', KEYS[2]),
  redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', before, 'LIMIT', 0, 100),
})
