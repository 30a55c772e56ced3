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
    if string.sub(name, 1, 2) == 'h:' then
      local lease, requests, tokens, cost = struct.unpack('<dddd', packed)
      local asked = string.sub(packed, 33)
      local next_look = lease > 0 and lease or TELL_AGAIN_MS - lease
      if next_look <= now then
        for field in string.gmatch(lease > 0 and asked or '', '([dm]%d+)%-') do
          local window = windows[field] or (kept[field] and {struct.unpack('<dddddd', kept[field])})
          for unit, held in ipairs(window and {requests, tokens, cost} or {}) do
            window[unit] = math.min(window[unit] + held, 2 ^ 53)
            window[3 + unit] = math.max(0, window[3 + unit] - held)
          end
          windows[field] = window
        end
        if lease > 0 then ended = ended + 1 end
        told[#told + 1] = string.format('\n%s %d %d %d %s', string.sub(name, 3), requests, tokens, cost, asked)
        redis.call('HSET', KEYS[1], name, struct.pack('<d', -now) .. string.sub(packed, 9))
        next_look = now + TELL_AGAIN_MS
      end
      due = math.min(due, next_look)
    end
  end
  for name, window in pairs(windows) do
    redis.call('HSET', KEYS[1], name, struct.pack('<dddddd', unpack(window)))
  end
  local state = {struct.unpack('<dddddddd', kept.s)}
  state[6], state[7] = math.max(0, state[6] - ended), due
  redis.call('HSET', KEYS[1], 's', struct.pack('<dddddddd', unpack(state, 1, 8)))
  return table.concat(told)
end
