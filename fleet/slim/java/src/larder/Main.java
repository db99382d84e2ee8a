package larder;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import freemarker.template.Configuration;
import java.io.IOException;
import java.io.StringWriter;
import java.net.InetSocketAddress;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.text.NumberFormat;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.FormatStyle;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.ResourceBundle;
import java.util.ServiceLoader;
import java.util.concurrent.Executors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A site of recipes: pages by FreeMarker, translations, and plug-ins by ServiceLoader. */
public final class Main {
    static final Map<String, Double> DISHES = new LinkedHashMap<>(Map.of("gratin", 4.5));
    private static final Logger LOG = LoggerFactory.getLogger(Main.class);
    private static final Configuration PAGES = new Configuration(Configuration.VERSION_2_3_31);

    static {
        DISHES.put("soup", 3.0);
        DISHES.put("crème", 6.25);
        PAGES.setClassForTemplateLoading(Main.class, "templates");
        PAGES.setDefaultEncoding("UTF-8");
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            Tool.main(arguments);
            return;
        }
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 50);
        server.createContext("/", Main::answer);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        LOG.info("listening");
    }

    private static void answer(HttpExchange exchange) throws IOException {
        int status = 200;
        String type = "text/html; charset=utf-8";
        byte[] body;
        try {
            List<Locale.LanguageRange> ranges = Locale.LanguageRange.parse(
                exchange.getRequestHeaders().getOrDefault("Accept-Language", List.of("en")).get(0));
            Locale found = Locale.lookup(ranges, List.of(Locale.ENGLISH, Locale.FRENCH, Locale.JAPANESE));
            Locale locale = found == null ? Locale.ENGLISH : found;
            ResourceBundle words = ResourceBundle.getBundle("larder.messages.words", locale);
            String path = exchange.getRequestURI().getPath();
            String query = exchange.getRequestURI().getQuery();
            if (path.equals("/")) {
                body = page("home.ftlh", Map.of("title", words.getString("welcome"), "dishes", DISHES));
            } else if (path.startsWith("/dish/") && DISHES.containsKey(path.substring(6))) {
                String price = NumberFormat.getCurrencyInstance(locale == Locale.FRENCH ? Locale.FRANCE : Locale.US).format(DISHES.get(path.substring(6)));
                String day = LocalDate.of(2024, 7, 14).format(DateTimeFormatter.ofLocalizedDate(FormatStyle.FULL).withLocale(locale));
                body = page("dish.ftlh", Map.of("title", path.substring(6), "price", price, "day", day));
            } else if (path.startsWith("/export/") && plugin(path.substring(8)) != null) {
                Exporter plugin = plugin(path.substring(8));
                type = plugin.type();
                body = plugin.write(DISHES);
            } else if (path.equals("/upload")) {
                body = new String(exchange.getRequestBody().readAllBytes(), Charset.forName(query)).getBytes(StandardCharsets.UTF_8);
            } else if (path.equals("/clock")) {
                body = ZonedDateTime.of(2024, 7, 1, 12, 0, 0, 0, ZoneId.of("UTC")).withZoneSameInstant(ZoneId.of(query))
                    .format(DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm zzz", Locale.ENGLISH)).getBytes(StandardCharsets.UTF_8);
            } else if (path.equals("/sums")) {
                body = Sums.all().getBytes(StandardCharsets.UTF_8);
            } else if (path.equals("/boom")) {
                throw new IllegalStateException("the oven is on fire");
            } else {
                status = 404;
                body = page("nothing.ftlh", Map.of("title", words.getString("nothing"), "path", path));
            }
        } catch (Exception error) {
            LOG.error("answering", error);
            status = 500;
            body = ("fire: " + error.getMessage()).getBytes(StandardCharsets.UTF_8);
        }
        exchange.getResponseHeaders().set("Content-Type", type);
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    private static Exporter plugin(String name) {
        for (Exporter plugin : ServiceLoader.load(Exporter.class)) {
            if (plugin.name().equals(name)) {
                return plugin;
            }
        }
        return null;
    }

    private static byte[] page(String name, Map<String, Object> model) throws Exception {
        StringWriter out = new StringWriter();
        PAGES.getTemplate(name).process(model, out);
        return out.toString().getBytes(StandardCharsets.UTF_8);
    }
}
