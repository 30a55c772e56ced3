-- Ends the holds of one window whose lease is over; part of the scripts that look at a tenant. Each is charged in full
-- and told, and told again every minute until the ledger has acknowledged it. The hash is read whole only when a lease may
-- have ended: leases end a minute after the deadline, so that with nothing lost this happens about once a minute.

local TELL_AGAIN_MS = 60000

local function sweep(place, window, now, lost)
  local fields = redis.call('HGETALL', KEYS[place])
  local due = math.huge
  for field = 1, #fields, 2 do
    local kind, id, text = string.sub(fields[field], 1, 2), string.sub(fields[field], 3), fields[field + 1]
    if kind == 'h:' then
      local lease, held, windows = parse_hold(text)
      if lease > now then
        due = math.min(due, lease)
      else
        replace(window, held, held)
        redis.call('HDEL', KEYS[place], fields[field])
        kind, text = 'x:', string.format('0 %d %d %d %s', held[1], held[2], held[3], windows)
      end
    end
    if kind == 'x:' then
      local told, what = string.match(text, '^(%d+) (.*)$')
      told = tonumber(told)
      if told + TELL_AGAIN_MS <= now then
        told = now
        lost[id] = what
        redis.call('HSET', KEYS[place], 'x:' .. id, string.format('%d %s', told, what))
      end
      due = math.min(due, told + TELL_AGAIN_MS)
    end
  end
  write_window(place, window)
  if due < math.huge then
    redis.call('HSET', KEYS[place], 'e', due)
  else
    redis.call('HDEL', KEYS[place], 'e')
  end
end

-- A window as `read_window` answers it, swept. Adds to `lost` what is to be told: lost[id] = "r t c windows".
local function read_swept(place, id, now, lost)
  local window = read_window(place, id)
  if not window or window[8] > now then return window end
  sweep(place, window, now, lost)
  return read_window(place, id)
end

-- The lost holds as a list of "request r t c windows".
local function told_of(lost)
  local told = {}
  for id, what in pairs(lost) do told[#told + 1] = id .. ' ' .. what end
  return told
end
