-- What a PACS calls a routing rule: every CT series goes to the node, on one association. What comes back from it is no
-- CT, so nothing goes in circles.
function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] == 'CT' then
    RestApiPost('/modalities/sbnode/store', DumpJson({Resources = {seriesId}, Synchronous = false}, true))
  end
end
