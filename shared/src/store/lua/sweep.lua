-- Ends the holds of a tenant whose lease is over; part of the scripts that look at it. Each is charged in full and told,
-- and told again every minute until the ledger has acknowledged it. The hash is read whole only when a lease may have
-- ended: leases end a minute after the deadline, so that with nothing lost this happens about once a minute.

local TELL_AGAIN_MS = 60000

-- Answers what is to be told, as a list of "request r t c windows".
local function sweep(state, now)
  local fields, kept, told, windows = redis.call('HGETALL', KEYS[1]), {}, {}, {}
  for field = 1, #fields, 2 do kept[fields[field]] = fields[field + 1] end
  local due, gone = math.huge, {}
  for name, packed in pairs(kept) do
    local kind, id, text = string.sub(name, 1, 2), string.sub(name, 3), nil
    if kind == 'h:' then
      local hold, of = hold_of(packed), windows_of(packed)
      if hold[1] > now then
        due = math.min(due, hold[1])
      else
        for window in string.gmatch(of, '([dm]%d+)%-') do
          windows[window] = windows[window] or window_of(kept[window])
          if windows[window] then replace(windows[window], hold, {hold[2], hold[3], hold[4]}) end
        end
        state[5] = math.max(0, state[5] - 1)
        gone[#gone + 1] = name
        text = string.format('%d %d %d %s', hold[2], hold[3], hold[4], of)
      end
    elseif kind == 'x:' then
      local at, what = string.match(packed, '^(%d+) (.*)$')
      if tonumber(at) + TELL_AGAIN_MS <= now then
        text = what
      else
        due = math.min(due, tonumber(at) + TELL_AGAIN_MS)
      end
    end
    if text then
      told[#told + 1] = id .. ' ' .. text
      due = math.min(due, now + TELL_AGAIN_MS)
      redis.call('HSET', KEYS[1], 'x:' .. id, string.format('%d %s', now, text))
    end
  end
  for i = 1, #gone do redis.call('HDEL', KEYS[1], gone[i]) end
  for name, window in pairs(windows) do redis.call('HSET', KEYS[1], name, packed_window(window)) end
  state[6] = due
  redis.call('HSET', KEYS[1], 's', packed_state(state))
  return told
end
