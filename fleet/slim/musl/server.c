/* A small web server: files, plug-ins by dlopen, zones, programs, accounts. One request at a time. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <iconv.h>
#include <netdb.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void send_all(int client, int status, const char *body)
{
    dprintf(client, "HTTP/1.0 %d X\r\nContent-Type: text/html\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body), body);
}

static int from(FILE *file, char *out, size_t room)
{
    if (!file)
        return 0;
    out[fread(out, 1, room - 1, file)] = 0;
    return 1;
}

static void answer(int client, char *path)
{
    static char out[65536];
    char *argument = strchr(path, '?');
    if (argument)
        *argument++ = 0;
    else
        argument = "";
    if (!strncmp(path, "/change/", 8)) {
        char name[300];
        snprintf(name, sizeof name, "/usr/lib/larder/%s.so", path + 8);
        void *plugin = dlopen(name, RTLD_NOW);
        void (*change)(char *) = plugin ? (void (*)(char *))dlsym(plugin, "change") : 0;
        if (!change) {
            send_all(client, 404, "no such plug-in");
            return;
        }
        snprintf(out, sizeof out, "%s", argument);
        change(out);
        send_all(client, 200, out);
    } else if (!strcmp(path, "/clock")) {
        time_t moment = 1719835200;
        setenv("TZ", argument, 1);
        tzset();
        strftime(out, sizeof out, "%Y-%m-%d %H:%M %Z", localtime(&moment));
        send_all(client, 200, out);
    } else if (!strcmp(path, "/user")) {
        struct passwd *who = getpwnam(argument);
        snprintf(out, sizeof out, "%s", who ? who->pw_dir : "nobody");
        send_all(client, 200, out);
    } else if (!strcmp(path, "/host")) {
        struct addrinfo *found = 0;
        snprintf(out, sizeof out, "%d", getaddrinfo(argument, "80", 0, &found));
        send_all(client, 200, out);
    } else if (!strcmp(path, "/koi8")) {
        iconv_t made = iconv_open("UTF-8", "KOI8-R");
        char in[] = "\xc2\xcf\xd2\xdd", *to = out, *text = in;
        size_t left = 4, room = sizeof out - 1;
        iconv(made, &text, &left, &to, &room);
        *to = 0;
        send_all(client, 200, out);
    } else if (!strcmp(path, "/packed")) {
        FILE *file = popen("gzip -c /srv/www/leek.txt | gunzip | tr a-z A-Z", "r");
        int told = from(file, out, sizeof out);
        pclose(file);
        send_all(client, told ? 200 : 500, out);
    } else if (!strcmp(path, "/banner")) {
        send_all(client, from(fopen("/tmp/banner", "r"), out, sizeof out) ? 200 : 500, out);
    } else {
        char name[400];
        snprintf(name, sizeof name, "/srv/www%s%s", path, path[strlen(path) - 1] == '/' ? "index.html" : "");
        FILE *file = strstr(name, "..") ? 0 : fopen(name, "r");
        if (from(file, out, sizeof out)) {
            fclose(file);
            send_all(client, 200, out);
        } else {
            send_all(client, 404, "<h1>Nothing on this plate</h1>");
        }
    }
}

int main(int count, char **words)
{
    if (count < 2 || !atoi(words[1])) {
        fprintf(stderr, "larder PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&place, sizeof place) || listen(listener, 9)) {
        perror("larder");
        return 1;
    }
    for (;;) {
        static char request[8192], path[4096];
        int client = accept(listener, 0, 0);
        ssize_t size = read(client, request, sizeof request - 1);
        if (size > 0) {
            request[size] = 0;
            if (sscanf(request, "%*s %4095s", path) == 1)
                answer(client, path);
        }
        shutdown(client, SHUT_WR);
        close(client);
    }
}
