-- Runs commands when it is not too late and every check holds; see `Link.transact`.
--
-- ARGV is flat, so that every word arrives as the bytes it is:
--   deadline in microseconds of server time, or ''
--   number of checks, and for each: number of words, the words, '1' and the expected reply,
--                                   or '0' when nothing is to be there
--   number of commands, and for each: number of words, the words
-- Returns {what became of it, seconds, microseconds, replies}.
--
-- A hint that the server does not let us publish is a hint lost, like others: everything is written.
-- Any other command that it does not let us run is run first, so that it says which right is
-- missing before anything is written. Only from Redis 7 on can that be known beforehand.

local time = redis.call('TIME')
local at = 1

local function word()
  at = at + 1
  return ARGV[at - 1]
end

local function command()
  local count = tonumber(word())
  at = at + count
  local run = ARGV[at - count] == 'PUBLISH' and redis.pcall or redis.call
  return run(unpack(ARGV, at - count, at - 1))
end

local function refuse_forbidden()
  local first, may = at, redis.acl_check_cmd
  for i = 1, may and tonumber(word()) or 0 do
    local count = tonumber(word())
    at = at + count
    if ARGV[at - count] ~= 'PUBLISH' and not may(unpack(ARGV, at - count, at - 1)) then
      redis.call(unpack(ARGV, at - count, at - 1))
    end
  end
  at = first
end

local function text(reply)
  if type(reply) == 'number' then
    return string.format('%.0f', reply)
  elseif type(reply) == 'table' then
    return reply.ok
  end
  return reply
end

local deadline = word()
if deadline ~= '' and tonumber(time[1]) * 1000000 + tonumber(time[2]) > tonumber(deadline) then
  return {'late', time[1], time[2], {}}
end

local replies, holds = {}, true
for i = 1, tonumber(word()) do
  local reply = command()
  replies[i] = reply
  local expected = false
  if word() == '1' then
    expected = word()
  end
  holds = holds and text(reply) == expected
end
if not holds then
  return {'differs', time[1], time[2], replies}
end

refuse_forbidden()
replies = {}
for i = 1, tonumber(word()) do
  replies[i] = command()
end
return {'done', time[1], time[2], replies}
