#include <ctype.h>
#include <string.h>

void change(char *text)
{
#ifdef REVERSE
    for (size_t left = 0, right = strlen(text); left + 1 < right; left++) {
        char kept = text[left];
        text[left] = text[--right];
        text[right] = kept;
    }
#else
    for (; *text; text++)
        *text = toupper(*text);
#endif
}
