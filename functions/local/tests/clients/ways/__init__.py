"""The ways by which `test_ways.py` asks: client libraries, unchanged, each in front of one door.

Each is a class with the same methods, made with a gateway as one tenant sees it:

    say(model)        the text of a whole answer
    stream(model)     the pieces of a streamed answer, of which `leave` takes but the first
    use_tool(model)   the results of the tool that a stream called, and the text of the stream that had them
    parse(model)      an answer in the form of `Answer`
    embed(model, texts)  their vectors, where the library has that
    wrong(model)      asks with a temperature that no provider takes
    error(status)     the type that a user of the library catches for such an error
"""
