-- Rows of a journal from an index on, until one does not fit; that one is not sent. Then whether that was all.
-- KEYS: journal; ARGV: one argument, packed: first index, room in bytes, and how many at most (-1: all)
local ask = cmsgpack.unpack(ARGV[1])
local rows = {}
local room = ask.room
local last = redis.call('LLEN', KEYS[1]) - 1
if ask.count >= 0 then
  last = math.min(last, ask.first + ask.count - 1)
end
local at = ask.first
while at <= last do
  for _, row in ipairs(redis.call('LRANGE', KEYS[1], at, math.min(at + 99, last))) do
    room = room - #row
    if room < 0 then
      return cmsgpack.pack({rows, false})
    end
    rows[#rows + 1] = row
  end
  at = at + 100
end
return cmsgpack.pack({rows, true})
