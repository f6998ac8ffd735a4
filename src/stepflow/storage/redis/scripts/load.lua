-- A run as it is now: all its fields, and how many attached children it has.
-- KEYS: run, children
return cmsgpack.pack({redis.call('HGETALL', KEYS[1]), redis.call('SCARD', KEYS[2])})
