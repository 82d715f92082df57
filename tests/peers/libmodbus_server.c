/* A PLC made of libmodbus: holding registers, and commands on standard input.
 *
 *     libmodbus_server PORT REGISTERS     prints READY when it listens
 *     get ADDRESS COUNT                   prints the registers as it holds them itself
 *     set ADDRESS VALUE...                as the PLC's program would; prints "ok"
 *
 *     cc -o libmodbus_server libmodbus_server.c $(pkg-config --cflags --libs libmodbus)
 */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

#define MOST_CONNECTIONS 8
#define LINE 1024

/* Commands come whole, one line a read: whoever writes them waits for the answer. */
static int obey(uint16_t *registers)
{
    char line[LINE + 1];
    ssize_t size = read(STDIN_FILENO, line, LINE);
    if (size <= 0)
        return 0;
    line[size] = '\0';
    int is_get = strcmp(strtok(line, " \n"), "get") == 0;
    int address = atoi(strtok(NULL, " \n"));
    if (is_get) {
        int count = atoi(strtok(NULL, " \n"));
        for (int place = 0; place < count; place++)
            printf("%s%d", place ? " " : "", registers[address + place]);
        printf("\n");
    } else {
        for (char *word; (word = strtok(NULL, " \n")) != NULL; address++)
            registers[address] = (uint16_t)atoi(word);
        printf("ok\n");
    }
    fflush(stdout);
    return 1;
}

/* One request; 0 when the connection has ended. */
static int answer(modbus_t *modbus, int connection, modbus_mapping_t *mapping)
{
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    modbus_set_socket(modbus, connection);
    int size = modbus_receive(modbus, request);
    if (size > 0)
        modbus_reply(modbus, request, size, mapping);
    return size >= 0;
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    modbus_t *modbus = modbus_new_tcp("127.0.0.1", atoi(words[1]));
    modbus_mapping_t *mapping = modbus_mapping_new(0, 0, atoi(words[2]), 0);
    int listening = modbus_tcp_listen(modbus, MOST_CONNECTIONS);
    if (listening < 0) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    printf("READY\n");
    fflush(stdout);

    fd_set open;
    FD_ZERO(&open);
    FD_SET(STDIN_FILENO, &open);
    FD_SET(listening, &open);
    for (;;) {
        fd_set ready = open;
        select(FD_SETSIZE, &ready, NULL, NULL, NULL);
        for (int each = 0; each < FD_SETSIZE; each++) {
            if (!FD_ISSET(each, &ready))
                continue;
            if (each == STDIN_FILENO) {
                if (!obey(mapping->tab_registers))
                    return 0;
            } else if (each == listening) {
                int connection = modbus_tcp_accept(modbus, &listening);
                if (connection >= 0)
                    FD_SET(connection, &open); /* a macro that names its argument twice */
            } else if (!answer(modbus, each, mapping)) {
                close(each);
                FD_CLR(each, &open);
            }
        }
    }
}
