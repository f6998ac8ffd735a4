-- Events go, from the log of one id and from what is known of it.
-- KEYS: log, known, events, stats; ARGV: one argument, packed: a list of {position, place, fields}
local log, known, events, stats = unpack(KEYS)
local gone = 0
for _, event in ipairs(cmsgpack.unpack(ARGV[1])) do
  gone = gone + redis.call('ZREMRANGEBYSCORE', log, event[1], event[1])
  redis.call('ZREM', events, event[2])
  for _, field in ipairs(event[3]) do
    redis.call('HDEL', known, field)
  end
end
if gone > 0 then
  redis.call('HINCRBY', stats, 'events', -gone)
end
-- Nothing but the last position is left: nobody can still be sending with an earlier one.
if redis.call('HLEN', known) == 1 and redis.call('EXISTS', log) == 0 then
  redis.call('HDEL', known, 'last')
end
return gone
