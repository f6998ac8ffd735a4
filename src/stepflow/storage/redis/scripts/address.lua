-- Notes that an event is about to be addressed to a run, if the run is there and has not ended.
-- KEYS: run, addressed; ARGV: one argument, packed: event. Answers the run's status, empty if there is none.
local status = redis.call('HGET', KEYS[1], 'status')
if not status then
  return ''
end
if status ~= 'completed' and status ~= 'failed' and status ~= 'cancelled' then
  redis.call('SADD', KEYS[2], cmsgpack.unpack(ARGV[1]).event)
end
return status
