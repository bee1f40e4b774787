"""Connections to a party that may not listen yet."""

import asyncio

from e3.remote.room_ports import connect


def test_a_party_that_listens_later_is_reached_from_the_peers_address() -> None:
    async def scenario() -> None:
        seen = asyncio.get_running_loop().create_future()

        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(writer.get_extra_info("peername")[0])
            writer.close()

        free = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = free.sockets[0].getsockname()[1]
        free.close()
        await free.wait_closed()
        connecting = asyncio.ensure_future(connect("127.77.0.1", port, "127.77.0.2"))
        await asyncio.sleep(0.2)
        assert not connecting.done()
        async with await asyncio.start_server(accept, "127.77.0.1", port):
            _, writer = await connecting
            assert await seen == "127.77.0.2"
            writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))
