-- What HSET takes to write the windows whose fields are ARGV[4] and following, and whose values kept[3] and following, those
-- that are known, with what `hold` held of them, if there is one, replaced by what was used; and how many that are.
local function charged(kept, hold, requests, tokens, cost)
  local held_requests, held_tokens, held_cost, write, last = 0, 0, 0, {0, 0, 0, 0}, 0
  if hold then held_requests, held_tokens, held_cost = struct.unpack('<ddd', hold, 9) end
  for i = 4, #ARGV do
    local window = kept[i - 1]
    if window then
      local ur, ut, uc, hr, ht, hc = struct.unpack('<dddddd', window)
      write[last + 1], write[last + 2] = ARGV[i], struct.pack('<dddddd',
        math.min(ur + requests, 2 ^ 53), math.min(ut + tokens, 2 ^ 53), math.min(uc + cost, 2 ^ 53),
        math.max(0, hr - held_requests), math.max(0, ht - held_tokens), math.max(0, hc - held_cost))
      last = last + 2
    end
  end
  return write, last
end
