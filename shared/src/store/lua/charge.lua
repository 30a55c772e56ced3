-- What HSET takes to write the windows whose fields are ARGV[3] and following, and whose values kept[3] and following, those
-- that are known, with what `hold` held of them, if there is one, replaced by what was used; and how many that are.
local function charged(kept, hold, requests, tokens, cost)
  local held_requests, held_tokens, held_cost, write, last = 0, 0, 0, {0, 0, 0, 0}, 0
  if hold then held_requests, held_tokens, held_cost = struct.unpack('<ddd', hold, 9) end
  for i = 3, #ARGV do
    local window = kept[i]
    if window then
      local ur, ut, uc, hr, ht, hc = struct.unpack('<dddddd', window)
      ur, ut, uc = ur + requests, ut + tokens, uc + cost
      if ur > 2 ^ 53 then ur = 2 ^ 53 end
      if ut > 2 ^ 53 then ut = 2 ^ 53 end
      if uc > 2 ^ 53 then uc = 2 ^ 53 end
      hr, ht, hc = hr - held_requests, ht - held_tokens, hc - held_cost
      if hr < 0 then hr = 0 end
      if ht < 0 then ht = 0 end
      if hc < 0 then hc = 0 end
      write[last + 1], write[last + 2] = ARGV[i], struct.pack('<dddddd', ur, ut, uc, hr, ht, hc)
      last = last + 2
    end
  end
  return write, last
end
