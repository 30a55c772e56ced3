-- Ends the holds of a tenant whose lease is over; part of the scripts that look at it. Each is charged in full and told,
-- and told again every minute until the ledger has acknowledged it. The hash is read whole only when a lease may have
-- ended: leases end a minute after the deadline, so that with nothing lost this happens about once a minute.

-- Answers what is to be told: "\nrequest r t c windows" of each.
local function sweep(now)
  local TELL_AGAIN_MS = 60000
  local flat, kept, told, windows = redis.call('HGETALL', KEYS[1]), {}, {}, {}
  for i = 1, #flat, 2 do kept[flat[i]] = flat[i + 1] end
  local due, ended = math.huge, 0
  for name, packed in pairs(kept) do
    local kind, id, text = string.sub(name, 1, 2), string.sub(name, 3), nil
    if kind == 'h:' then
      local lease, requests, tokens, cost = struct.unpack('<dddd', packed)
      if lease > now then
        due = math.min(due, lease)
      else
        local asked = string.sub(packed, 33)
        for field in string.gmatch(asked, '([dm]%d+)%-') do
          local window = windows[field] or (kept[field] and {struct.unpack('<dddddd', kept[field])})
          for unit, held in ipairs(window and {requests, tokens, cost} or {}) do
            window[unit] = math.min(window[unit] + held, 2 ^ 53)
            window[3 + unit] = math.max(0, window[3 + unit] - held)
          end
          windows[field] = window
        end
        ended = ended + 1
        redis.call('HDEL', KEYS[1], name)
        text = string.format('%d %d %d %s', requests, tokens, cost, asked)
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
      told[#told + 1] = '\n' .. id .. ' ' .. text
      due = math.min(due, now + TELL_AGAIN_MS)
      redis.call('HSET', KEYS[1], 'x:' .. id, string.format('%d %s', now, text))
    end
  end
  for name, window in pairs(windows) do
    redis.call('HSET', KEYS[1], name, struct.pack('<dddddd', unpack(window)))
  end
  local state = {struct.unpack('<dddddd', kept.s)}
  state[5], state[6] = math.max(0, state[5] - ended), due
  redis.call('HSET', KEYS[1], 's', struct.pack('<dddddd', unpack(state)))
  return table.concat(told)
end
