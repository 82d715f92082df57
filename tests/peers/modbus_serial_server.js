// A PLC made of the npm package modbus-serial: holding registers, and commands on standard input.
//
//     node modbus_serial_server.js PORT REGISTERS     prints READY when it listens
//     get ADDRESS COUNT                               prints the registers as it holds them itself
//     set ADDRESS VALUE...                            as the PLC's program would; prints "ok"
//
// Where the package is, NODE_PATH says.
"use strict";

const readline = require("readline");
const { ServerTCP } = require("modbus-serial");

const [port, count] = process.argv.slice(2).map(Number);
const registers = new Uint16Array(count);

function checked(address) {
    if (address >= count) {
        throw { modbusErrorCode: 2, msg: "no such register" };
    }
    return address;
}

const server = new ServerTCP(
    {
        getHoldingRegister: (address) => registers[checked(address)],
        setRegister: (address, value) => {
            registers[checked(address)] = value;
        },
    },
    { host: "127.0.0.1", port, unitID: 1 }
);
server.on("initialized", () => console.log("READY"));
server.on("serverError", (error) => {
    console.error(String(error));
    process.exit(1);
});

readline.createInterface({ input: process.stdin }).on("line", (line) => {
    const [verb, ...words] = line.split(" ");
    const [address, ...values] = words.map(Number);
    if (verb === "get") {
        console.log(Array.from(registers.subarray(address, address + values[0])).join(" "));
    } else {
        registers.set(values, address);
        console.log("ok");
    }
});
